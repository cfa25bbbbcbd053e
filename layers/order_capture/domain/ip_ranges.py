"""The IP addresses to which webhooks may be sent: only public ones, since others may be internal."""

from __future__ import annotations

import ipaddress
import re

# Characters that a hostname, a path and a query may contain (RFC 3986, sections 3.2.2 to 3.4): all others
# must be percent-encoded.
_URI_TEXT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")

# From IANA's registries of special-purpose addresses. Listed here because `ipaddress.is_global` changes with
# Python's patch releases.
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers (CGNAT), and within clouds
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, including the metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Of IPv6 only the range allocated as public. This excludes loopback, link-local, unique local (including
# fd00:ec2::254, EC2's metadata service), multicast, and embedded IPv4: ::ffff:0:0/96, 64:ff9b::/96.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocol assignments, including Teredo, which embeds an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


def is_uri_text(text: str) -> bool:
    """Whether the text can be used unchanged and unambiguously in a request line."""
    return _URI_TEXT.fullmatch(text) is not None


def is_public(address: str) -> bool:
    """Whether an IP address is public, and does not embed another address.

    Raises:
        ValueError: it is not an IP address.
    """
    match ipaddress.ip_address(address):
        case ipaddress.IPv4Address() as v4:
            return not any(v4 in network for network in _SPECIAL_V4)
        case v6:
            return v6 in _PUBLIC_V6 and not any(v6 in network for network in _SPECIAL_V6)
