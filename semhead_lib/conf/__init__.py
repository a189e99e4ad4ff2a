"""The settings of each command: a dataclass a command, composed by Hydra.

A field's default, meaning and allowed values are written once, beside each other
(`semhead_lib.settings`): the command line's help and checks read them there. What the library's own
settings have, commands inherit. Modules here, and those of settings, import nothing heavy.
"""
