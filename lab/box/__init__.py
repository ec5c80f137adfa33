"""The Vagrant box of the lab's machines: Debian as the roles want it, ready to boot in libvirt.

    python -m lab.box        builds it and gives it to Vagrant, unless Vagrant has it already

`recipe` says what it is, `disk` makes the disk (the part that needs root), `pack` makes a box of
that, and `kvm` tells how its machines can run here: by KVM, or emulated.
"""
