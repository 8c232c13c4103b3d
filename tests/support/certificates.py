"""Certificates for 127.0.0.1, right and wrong, made anew for each run of the tests."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme


class Authority:
    """Signs certificates; whoever is to trust it is given its file."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self.file = directory / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    @cached_property
    def right(self) -> ssl.SSLContext:
        """The context of a server that may be trusted."""
        return _serving(self._ca.issue_cert("127.0.0.1"))

    @cached_property
    def expired(self) -> ssl.SSLContext:
        """The context of a server whose certificate was good until yesterday."""
        now = datetime.now(UTC)
        return _serving(
            self._ca.issue_cert(
                "127.0.0.1", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
            )
        )

    @cached_property
    def of_another_host(self) -> ssl.SSLContext:
        """The context of a server whose certificate is another's."""
        return _serving(self._ca.issue_cert("elsewhere.example"))

    @cached_property
    def self_signed(self) -> ssl.SSLContext:
        """The context of a server that vouches for itself."""
        file = self._directory / "self-signed.pem"
        own = trustme.CA()
        own.private_key_pem.write_to_path(str(file))
        own.cert_pem.write_to_path(str(file), append=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
