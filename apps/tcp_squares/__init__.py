"""Squares over TCP: a server that computes them, and a bag of tasks that workers share."""
