# SPDX-License-Identifier: Apache-2.0
"""From where a stream body is fetched (docs/formats.md, *Deployment document*, `fetch`).

Owns the object that says so and its strict decoding. Nothing is looked up: the document names the address to
connect to and the certificates that the server may have, since the image holds neither a resolver nor a list
of authorities. It opens no connection; `mantlet_agent.fetch` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from mantlet_measure.strictjson import Fields, base64_text

AUTHORITIES_LIMIT = 8
_CERTIFICATE_LIMIT = 8 << 10
# RFC 9110, 4.2.2, with a path of printable ASCII; neither user nor fragment.
URL_PATTERN = r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})(?::[1-9][0-9]{0,4})?/[!$-~]{0,1500}"
_ADDRESS_PATTERN = r"[0-9.]{7,15}"
_HTTPS = 443
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An HTTPS resource: the disk image that holds a stream body.

    url: with the host whose certificate is expected. address: IPv4, where it is connected to. authorities:
    DER certificates, one of which has issued the server's, or is it.
    """

    url: str
    address: str
    authorities: tuple[bytes, ...]

    @property
    def host(self) -> str:
        """The host of the URL, which the certificate must name."""
        return self._authority.partition(":")[0]

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self._authority.partition(":")[2] or _HTTPS)

    @property
    def target(self) -> str:
        """Path and query, as a request names them."""
        return "/" + self.url.split("/", 3)[3]

    @property
    def _authority(self) -> str:
        return self.url.split("/", 3)[2]


def remote_from_fields(fields: Fields) -> Remote:
    """Decode a `fetch` object, all of it. DecodeError on anything that is not one."""
    authorities = fields.sequence("authorities", limit=AUTHORITIES_LIMIT)
    remote = Remote(
        url=fields.text("url", pattern=URL_PATTERN),
        address=fields.text("address", pattern=_ADDRESS_PATTERN),
        authorities=tuple(
            Fields({"certificate": item}, f"{fields.what}: authorities").base64(
                "certificate", _CERTIFICATE_LIMIT
            )
            for item in authorities
        ),
    )
    if not remote.authorities or not all(remote.authorities):
        fields.refuse("authorities", "at least one certificate, none of them empty")
    if remote.port > _HIGHEST_PORT:
        fields.refuse("url", f"a port of at most {_HIGHEST_PORT}")
    try:
        plain = str(IPv4Address(remote.address)) == remote.address
    except ValueError:
        plain = False
    if not plain:
        fields.refuse("address", "an IPv4 address in four plain numbers")
    fields.done()
    return remote


def remote_to_value(remote: Remote) -> Mapping[str, object]:
    """Return the JSON object that `remote_from_fields` reads."""
    return {
        "url": remote.url,
        "address": remote.address,
        "authorities": [base64_text(certificate) for certificate in remote.authorities],
    }
