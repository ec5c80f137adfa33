"""Requests that are answered whoever dies: Lazy and Paranoid Pirates, Majordomo, Titanic."""
