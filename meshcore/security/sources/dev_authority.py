"""The certificate authority of one user for development: in a folder of the user's own, made on first use."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from meshcore.ports.identity import Credentials, IdentityError
from meshcore.security.credentials import MAX_BYTES, Source, read_credentials
from meshcore.security.sources.dev_certificates import key_pem, make_leaf, make_root

_AUTHORITY: Final = "authority.pem"
_ROOT: Final = "root.pem"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class DevAuthority:
    """Issues certificates that all processes of one user trust.

    Its key and its certificate are in one file, which only its user can read. The first process makes it. The
    certificate alone is in `root.pem`, for `curl --cacert` and browsers. Both are for this machine only: see
    `make_root`.

    Args:
        folder: None for the default: `meshcore/identity` in `$XDG_STATE_HOME`, or in `~/.local/state`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _default_folder()

    def read(self) -> bytes:
        """The key and the certificate, in PEM. They are made if there are none.

        Raises:
            IdentityError: they cannot be used, or other users can change the folder or read the key.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                try:
                    return self._read(folder)
                except FileNotFoundError:
                    _place(folder, _AUTHORITY, make_root(), replace=False)
                    made = self._read(folder)  # ours, or that of a process that was faster
                    _place(folder, _ROOT, made[made.index(b"-----BEGIN CERTIFICATE-----") :], replace=True)
                    return made
        except OSError as error:
            raise IdentityError(f"{self.folder}: the folder of dev: cannot be used: {error.strerror}") from None

    def issue(self, authority: bytes, name: str, *, now: float) -> Credentials:
        """Make a certificate.

        Args:
            authority: what `read` has returned.
            name: of a component.
            now: in seconds since the epoch.

        Raises:
            IdentityError: the authority cannot be used.
        """
        place = str(self.folder / _AUTHORITY)
        try:
            signer = _load_key(authority)
            root = x509.load_pem_x509_certificate(authority)
        except ValueError:
            text = f"{place}: it cannot be read; remove it, and the next process that starts makes a new one"
            raise IdentityError(text) from None
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_leaf(name, key, root, signer, now)
        chain = Source(certificate.public_bytes(Encoding.PEM), f"{place}: the certificate made with it")
        roots = Source(root.public_bytes(Encoding.PEM), place)
        return read_credentials(chain, Source(key_pem(key), place), roots, now=now)

    @contextmanager
    def _opened(self) -> Generator[int]:
        """Open the folder, so that what is checked is what is read."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(folder)
            self._check(status, self.folder)
            if status.st_mode & _OTHERS_WRITE:
                mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
                text = f"other users can write to it ({mode}), and so replace the authority; chmod go-w {self.folder}"
                raise IdentityError(f"{self.folder}: {text}")
            yield folder
        finally:
            os.close(folder)

    def _read(self, folder: int) -> bytes:
        place = self.folder / _AUTHORITY
        file = os.open(_AUTHORITY, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(file, "rb") as opened:
            status = os.fstat(file)
            self._check(status, place)
            if not stat.S_ISREG(status.st_mode):
                raise IdentityError(f"{place}: it is not a file")
            if status.st_mode & _OTHERS:
                mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
                text = f"other users have rights to the key of the authority ({mode}); remove the file, and all"
                raise IdentityError(f"{place}: {text} processes that run get new certificates")
            return opened.read(MAX_BYTES)

    def _check(self, status: os.stat_result, place: Path) -> None:
        if status.st_uid != os.geteuid():
            text = f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}"
            raise IdentityError(f"{place}: {text}; name a folder of this user, as in dev:/path")


def _default_folder() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            raise IdentityError("dev: this user has no home folder; name a folder, as in dev:/path") from None
    return state / "meshcore" / "identity"


def _place(folder: int, name: str, content: bytes, *, replace: bool) -> None:
    """Write a file that appears at once and whole. Without `replace` an older one stays."""
    new = f".{secrets.token_hex(8)}"
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(file)
        if replace:
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            with suppress(FileExistsError):
                os.link(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)


def _load_key(authority: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(authority, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is of another kind")  # noqa: TRY004 - as for a file that is no key at all
    return key
