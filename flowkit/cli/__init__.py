"""The command line: one module a group of commands. Imports no torch before a command needs it."""
