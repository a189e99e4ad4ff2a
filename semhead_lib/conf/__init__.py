"""Hydra configuration: one YAML file a command, folders of alternatives (groups), a comment on
every key.

A comment says what the key means and its unit, and ends with what is allowed, in brackets: `[int >=
1]`, `[0 <= float <= 1]`, `[bool]`, `[text]`, `[path]`, `[png | webp]`, `[any of depth | normals]`
(a list), each also as `[... or null]`. The command line's help and its checks read these comments
(`semhead_lib.conf.keys`), so there is one place to change. Keys of a group's file are the command's
own when it begins with `# @package _global_`.
"""
