"""mqtt on the lab: Mosquitto's own clients exchange with ours; bad input harms nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from lab.hosts.inventory import Inventory
from lab.hosts.remote import Remote
from tests.conftest import eventually

testinfra_hosts = ["ansible://mqtt_client"]
CLIENT = "/opt/distlab/bin/python -m apps.mqtt"
OURS = {"5": "--v5", "3.1.1": "--v311"}
THEIRS = {"5": "-V mqttv5", "3.1.1": "-V mqttv311"}

every_quality = pytest.mark.parametrize("qos", [0, 1, 2])
every_version = pytest.mark.parametrize("version", ["5", "3.1.1"])


@pytest.fixture
def broker(inventory: Inventory) -> str:
    """The broker's host, by the name that every host knows."""
    return inventory.groups["mqtt_broker"][0]


@pytest.fixture
def recorded(inventory: Inventory, remote: Remote) -> Callable[[str], list[dict[str, Any]]]:
    """Give the deliveries of a topic, as the first subscriber's journal tells them."""
    first = inventory.groups["mqtt_subscriber"][0]

    def look(topic: str) -> list[dict[str, Any]]:
        # A status of 1 says that there is none yet.
        command = f"sudo journalctl -o cat -u lab-mqtt-subscriber --grep {topic}"
        lines = remote.run(first, command).stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    return look


def heard(host: Any, subscribing: str, ready: str, publishing: str) -> str:
    """Publish when a subscriber is ready; give what that one printed."""
    log = host.check_output("mktemp")
    script = (
        f"timeout 25 {subscribing} > {log} 2>&1 & "
        f"timeout 20 sh -c 'until grep -q \"{ready}\" {log}; do sleep 0.05; done'; "
        f"{publishing} >&2; wait; cat {log}; rm {log}"
    )
    return str(host.check_output(f"bash -c {_quoted(script)}"))


@every_version
@every_quality
def test_mosquitto_pub_reaches_our_subscriber(
    host: Any, broker: str, qos: int, version: str
) -> None:
    topic = f"test/theirs-{qos}-{version}"
    said = heard(
        host,
        f"{CLIENT} subscribe {broker} {topic} --count 1 {OURS[version]}",
        "subscribed",
        f"mosquitto_pub -h {broker} -t {topic} -m hello -q {qos} {THEIRS[version]}",
    )
    assert f"{topic}: hello" in said


@every_version
@every_quality
def test_our_publisher_reaches_mosquitto_sub(
    host: Any, broker: str, qos: int, version: str
) -> None:
    topic = f"test/ours-{qos}-{version}"
    show = "-F '%q %t %p'"
    said = heard(
        host,
        f"stdbuf -oL mosquitto_sub -d -h {broker} -t {topic} -q 2 -C 1 {show} {THEIRS[version]}",
        "Subscribed",
        f"{CLIENT} publish {broker} {topic} hello --qos {qos} {OURS[version]}",
    )
    assert f"{qos} {topic} hello" in said


@every_quality
def test_mosquitto_pub_reaches_the_unit(
    host: Any, broker: str, recorded: Callable[[str], list[dict[str, Any]]], qos: int
) -> None:
    topic = f"readings/by-hand-{host.check_output('date +%s%N')}"
    host.check_output(f"mosquitto_pub -h {broker} -t {topic} -m warm -q {qos}")
    eventually(lambda: bool(recorded(topic)), "the subscriber has recorded it")
    (event,) = recorded(topic)
    assert (event["event"], event["text"], event["qos"]) == ("heard", "warm", qos)


def test_what_mqtt_5_adds_comes_through(host: Any, broker: str) -> None:
    said = heard(
        host,
        "stdbuf -oL mosquitto_sub -d -V mqttv5 -q 1 -C 1 -F '%p %P expires %E'"
        f" -h {broker} -t test/five",
        "Subscribed",
        f"{CLIENT} publish {broker} test/five hello --property unit=C --expiry 60",
    )
    assert "hello unit:C" in said
    assert "expires 60" in said
    nobody = host.check_output(f"{CLIENT} publish {broker} test/nobody hello")
    assert nobody == "ok: no matching subscribers"


def test_a_session_outlives_its_client(host: Any, broker: str) -> None:
    name = f"test-{host.check_output('date +%s%N')}"
    command = f"{CLIENT} subscribe {broker} test/{name} --session {name}"
    host.check_output(f"{command} --for 0.1")
    host.check_output(f"mosquitto_pub -h {broker} -t test/{name} -m meanwhile -q 1")
    assert "meanwhile" in host.check_output(f"{command} --count 1 --for 20")


def test_what_a_client_has_received_is_not_published_anew(
    host: Any, broker: str, inventory: Inventory, remote: Remote
) -> None:
    """However many PUBCOMPs are awaited when the broker ends, it sends their PUBRELs again."""
    name = f"test-{host.check_output('date +%s%N')}"
    heard: list[bytes] = []
    subscribed: list[int] = []
    client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False, manual_ack=True)
    client.on_subscribe = lambda _client, _userdata, mid, *_: subscribed.append(mid)
    client.on_message = lambda _client, _userdata, message: heard.append(bytes(message.payload))
    client.connect(str(inventory.hosts[broker].address))
    client.loop_start()
    try:
        client.subscribe(f"test/{name}", qos=2)
        eventually(lambda: bool(subscribed), "subscribed")
        host.check_output(f"seq 60 | mosquitto_pub -h {broker} -t test/{name} -l -q 2")
        eventually(lambda: len(heard) == 60, "all of them heard")
        remote.must(broker, "sudo systemctl restart lab-mqtt-broker")
        host.check_output(f"mosquitto_pub -h {broker} -t test/{name} -m last -q 2")
        eventually(lambda: b"last" in heard, "the last one heard")
        assert len(heard) == 61
    finally:
        client.loop_stop()


def test_one_of_a_group_is_given_each(host: Any, broker: str) -> None:
    member = f"{CLIENT} subscribe {broker} test/shared --share g --count 3"
    log = host.check_output("mktemp -d")
    script = (
        f"for m in a b; do timeout 25 {member} > {log}/$m & done; "
        f"timeout 20 sh -c 'until [ $(grep -l subscribed {log}/* | wc -l) = 2 ]; "
        "do sleep 0.05; done'; "
        f"{CLIENT} publish {broker} test/shared 1 2 3 4 5 6 >&2; wait; cat {log}/*; rm -r {log}"
    )
    said = host.check_output(f"bash -c {_quoted(script)}").splitlines()
    assert sorted(line for line in said if line.startswith("test/shared")) == [
        f"test/shared: {number}" for number in range(1, 7)
    ]


def test_words_and_statuses_say_what_is_known(host: Any, broker: str) -> None:
    refused = host.run(f"{CLIENT} publish {broker}:1 t hello --timeout 1")
    assert refused.rc == 3
    assert refused.stderr.startswith("refused: ")
    assert host.run(f"{CLIENT} publish {broker} 'a/#' hello").rc == 4
    long = host.run(f"{CLIENT} publish {broker} t $(head -c 70000 /dev/zero | tr '\\0' a)")
    assert long.rc == 4
    assert "the broker takes 65536" in long.stderr
    assert host.run(f"{CLIENT} subscribe {broker} 'a/#/b'").rc == 4
    assert host.run(f"{CLIENT} publish {broker} t x --v311 --expiry 1").rc == 2


def test_what_is_typed_is_published(host: Any, broker: str) -> None:
    said = host.check_output(f"printf 'one\\n\\ntwo\\n' | {CLIENT} publish {broker} test/typed")
    assert said.splitlines() == ["ok: no matching subscribers"] * 2


@pytest.mark.parametrize(
    "sent",
    [
        "head -c 300000 /dev/urandom",
        "printf '\\020\\025\\000\\004MQ'",
        "printf '\\020\\377\\377\\377\\377\\377'",
        "printf '\\020\\015\\000\\004MQTT\\004\\002\\000\\012\\000\\001x\\060\\377\\377\\377\\177'",
        "printf '\\062\\007\\000\\003a/b\\000\\001'",
        "true",
    ],
    ids=["garbage", "half a CONNECT", "a length without end", "too long", "no CONNECT", "nothing"],
)
def test_bad_input_harms_nobody(host: Any, broker: str, sent: str) -> None:
    host.run(f"{sent} | timeout 1 nc -N {broker} 1883")
    assert host.check_output(f"{CLIENT} publish {broker} test/after hello --qos 2").startswith("ok")


def test_a_crowd_of_half_connected_disturbs_nobody_who_is_there(
    host: Any, broker: str, recorded: Callable[[str], list[dict[str, Any]]], inventory: Inventory
) -> None:
    """It takes up all connections: the units' go on, and afterwards there is room again."""
    flood = (
        "import socket, sys, subprocess\n"
        "held = []\n"
        "for number in range(1200):\n"
        f"    one = socket.create_connection(('{broker}', 1883), 10)\n"
        "    one.setblocking(False)\n"
        "    held.append(one)\n"
        "    try:\n"
        "        one.send(b'\\x10\\x15\\0\\x04MQ')\n"
        "    except OSError:\n"
        "        pass\n"
        "late = subprocess.run(sys.argv[1:])\n"
        "print('late', late.returncode)\n"
    )
    sensor = inventory.groups["mqtt_publisher"][0]
    before = len(recorded(f"readings/{sensor}/1"))
    late = f"{CLIENT} publish {broker} test/late hello --timeout 2"
    script = f"ulimit -n 4096; timeout 60 python3 -c {_quoted(flood)} {late}"
    assert host.check_output(f"bash -c {_quoted(script)}").endswith("late 3")
    eventually(lambda: len(recorded(f"readings/{sensor}/1")) > before, "the units have gone on")
    assert host.check_output(f"{CLIENT} publish {broker} test/after hello").startswith("ok")


def _quoted(script: str) -> str:
    return "'" + script.replace("'", "'\\''") + "'"
