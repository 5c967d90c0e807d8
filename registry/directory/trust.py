"""Whose files and folders count: those of this user and of root that nobody else can write."""

from __future__ import annotations

import os
import stat

_ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def folder_objection(status: os.stat_result, path: str, *, shared: bool) -> str:
    """Return why a folder must not be used, and what mends it. Empty if it may be used.

    Who can write to a folder can announce instances, and so gets calls. Who owns it can do so at any time.

    Args:
        status: of the folder.
        path: of the folder, for the text.
        shared: whether other users may have files there. They still need the sticky bit to be set: it keeps them from
            renaming and removing files that are not theirs.
    """
    if status.st_uid not in {os.geteuid(), _ROOT}:
        return (
            f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}; run as that user, or "
            "name a folder of this user or of root (setting registry, as directory:///path)"
        )
    if status.st_mode & _OTHERS_WRITE and not (shared and status.st_mode & stat.S_ISVTX):
        return (
            f"users other than its owner can write to it (mode {stat.S_IMODE(status.st_mode):04o}), and so announce "
            f"instances; remove that right (chmod go-w {path}), or name a folder that is not there yet, which is made "
            f"for this user only (setting registry, as directory://{path.rstrip('/')}/meshcore)"
        )
    return ""


def file_objection(status: os.stat_result) -> str:
    """Return why a file must not be believed. Empty if it may be."""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_uid not in {os.geteuid(), _ROOT}:
        return f"it belongs to user {status.st_uid}, and only files of user {os.geteuid()} and of root count"
    if status.st_mode & _OTHERS_WRITE:
        return f"users other than its owner can write to it (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""
