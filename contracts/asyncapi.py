"""asyncapi.yaml: senders, channels and receivers of messages, as AsyncAPI 3.0, from the registry."""

from __future__ import annotations

import json
from typing import Any

import yaml

from contracts.http_baseline import CONTRACT
from contracts.registry import CHANNELS, ENVELOPE, MESSAGES, Channel, Kind, Message
from contracts.samples import samples
from order_capture.adapters.messaging import envelopes
from order_capture.application.webhooks.deliver_webhooks import CONTENT_TYPE, USER_AGENT
from order_capture.entrypoints.websocket.api import PROTOCOL

Node = dict[str, Any]

_HEAD = "# Channels and messages, written by `make schemas` from contracts/. The HTTP API is swagger.yaml.\n"
_DESCRIPTION = """\
The messages between the functions, and those that they publish: for customers by webhooks and over WebSocket
connections, for other services on topics. Each message is a CloudEvent 1.0, whose `dataschema` names the
schema of its `data`: `schemas/` has them all, by type and version, with samples.

A field of another JSON type than its schema says makes a message a bad one, as does a number of more than 30
digits, or outside of 1e-30 to 1e31, or NaN. A bad message is refused as a whole, and becomes a dead letter.

Everything comes at least once, and may come out of order. Ignore fields that you do not know: a change that
would break you gets another version. Topics and queues are named by the stack, whose outputs have the names.
"""

# Headers of Standard Webhooks 1.0, with example values: the real ones depend on the receiver's secret.
_WEBHOOK_HEADERS = {
    "content-type": (
        f"^{CONTENT_TYPE.replace('+', '[+]')}$",
        CONTENT_TYPE,
        "A CloudEvent in structured mode, by which the CloudEvents SDKs recognise it.",
    ),
    "user-agent": (f"^{USER_AGENT}$", USER_AGENT, "The sender."),
    "webhook-id": (
        "^[0-9a-f]{32}$",
        "019a9c0e7b7b4f1d2c3b5a69788796a5",
        "The same in each delivery of this event: process each id once.",
    ),
    "webhook-timestamp": ("^[0-9]{10}$", "1795168801", "Time of this attempt, in seconds since 1970."),
    "webhook-signature": (
        "^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)*$",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        "Signatures, one of which must match: there are two while the secret is being rotated.",
    ),
}


def text() -> str:
    """The document."""
    return _HEAD + yaml.dump(document(), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=118)


def document() -> Node:
    """The document as data."""
    operations: Node = {}
    for channel in CHANNELS:
        operations |= _operations(channel)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Order capture: messages",
            "version": yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["info"]["version"],
            "description": _DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "servers": _SERVERS,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": operations,
        "components": {
            "messages": _messages(),
            "schemas": {_key(message): _payload(message) for message in MESSAGES},
            "securitySchemes": {
                "accessToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An access token of the stack's user pool with the scope `orders/read`, "
                    "in the header `Authorization`, or from a page in a browser as a second subprotocol "
                    f"beside `{PROTOCOL}`.",
                }
            },
        },
    }


_UNWANTED = {
    envelopes.NO_WEBHOOKS: "Set if no webhook wants the event; for the filter of WebhookDispatcherQueue.",
    envelopes.NO_CONNECTIONS: "Set if no connection wants the event; for the filter of SocketPusherQueue.",
}


def headers(kind: Kind, message: Message) -> Node:
    """The schema of a message's headers."""
    match kind:
        case Kind.TOPIC | Kind.QUEUE:
            attributes = {"type": message.type, "version": message.version}
            unwanted = _UNWANTED if message.sequenced else {}
            return {
                "title": f"{message.name}Attributes",
                "type": "object",
                "description": "Message attributes, for filters.",
                "required": list(attributes),
                "properties": {
                    **{name: {"type": "string", "const": value} for name, value in attributes.items()},
                    **{
                        name: {"type": "string", "const": "true", "description": about}
                        for name, about in unwanted.items()
                    },
                },
            }
        case Kind.WEBHOOK:
            return {
                "title": "WebhookHeaders",
                "type": "object",
                "required": list(_WEBHOOK_HEADERS),
                "properties": {
                    name: {"type": "string", "pattern": pattern, "description": about}
                    for name, (pattern, _, about) in _WEBHOOK_HEADERS.items()
                },
            }
    return {}  # a WebSocket message is its text


_SERVERS = {
    "sns": {
        "host": "sns.{region}.amazonaws.com",
        "protocol": "sns",
        "description": "SNS topics. IAM controls who may publish and subscribe.",
        "variables": {"region": {"default": "us-east-1"}},
    },
    "sqs": {
        "host": "sqs.{region}.amazonaws.com",
        "protocol": "sqs",
        "description": "SQS queues. IAM controls who may send and receive.",
        "variables": {"region": {"default": "us-east-1"}},
    },
    "wss": {
        "host": "{apiId}.execute-api.{region}.amazonaws.com",
        "pathname": "/{stage}",
        "protocol": "wss",
        "description": "The WebSocket API: the stack's output `SocketUrl`. Each connection is authorized "
        "once, as it is opened.",
        "variables": {
            "apiId": {"description": "Generated by API Gateway."},
            "region": {"default": "us-east-1"},
            "stage": {"default": "v1"},
        },
        "security": [{"$ref": "#/components/securitySchemes/accessToken"}],
    },
    "https": {
        "host": "{receiver}",
        "protocol": "https",
        "description": "The URL that a customer registered with `POST /webhooks`.",
        "variables": {
            "receiver": {"description": "The customer's own host.", "examples": ["shop.example.com"]}
        },
    },
}


def _channel(channel: Channel) -> Node:
    described: Node = {
        "title": channel.name,
        "description": channel.title,
        "servers": [{"$ref": f"#/servers/{channel.kind.value}"}],
        "messages": {
            _key(message): {"$ref": f"#/components/messages/{_name(channel.kind, message)}"}
            for message in channel.all_messages
        },
    }
    match channel.kind:
        case Kind.TOPIC:
            binding = {"name": channel.name, "ordering": {"type": "standard"}, "bindingVersion": "0.1.0"}
            return {**_by_output(f"{channel.name}Arn"), **described, "bindings": {"sns": binding}}
        case Kind.QUEUE:
            queue = {"name": channel.name, "fifoQueue": False}
            binding = {"queue": queue, "bindingVersion": "0.2.0"}
            return {**_by_output(f"{channel.name}Url"), **described, "bindings": {"sqs": binding}}
        case Kind.SOCKET:
            binding = {"method": "GET", "headers": _HANDSHAKE, "bindingVersion": "0.1.0"}
            return {"address": "/", **described, "bindings": {"ws": binding}}
    return {"address": None, **described}  # a webhook's address belongs to its customer


def _by_output(output: str) -> Node:
    return {
        "address": f"{{{output}}}",
        "parameters": {output: {"description": "An output of the stack."}},
    }


_HANDSHAKE = {
    "title": "SocketHandshake",
    "type": "object",
    "properties": {
        "Authorization": {"type": "string", "pattern": "^Bearer .+$"},
        "Sec-WebSocket-Protocol": {
            "type": "string",
            "pattern": f"^{PROTOCOL}, *[^, ]+$",
            "description": "For browsers, which can't set headers: the second subprotocol is the token.",
        },
    },
}


def _operations(channel: Channel) -> Node:
    sent = {
        f"{function}_to_{channel.name}": _operation("send", channel, channel.messages) | _sending(channel)
        for function in channel.senders
    }
    received = {
        f"{function}_from_{channel.name}": _operation(
            "receive", channel, channel.requests or channel.messages
        )
        | _replying(channel)
        for function in channel.receivers
    }
    return sent | received


def _operation(action: str, channel: Channel, messages: tuple[Message, ...]) -> Node:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": _references(channel, messages),
    }


def _sending(channel: Channel) -> Node:
    behind = [
        {
            "protocol": "sqs",
            "endpoint": {"name": queue.name},
            # The binding allows only lists of strings; the headers describe the `exists` filters.
            "filterPolicy": {
                name: values
                for name, values in queue.filter_policy.items()
                if all(isinstance(value, str) for value in values)
            },
            "filterPolicyScope": "MessageAttributes",
            "rawMessageDelivery": True,
        }
        for queue in CHANNELS
        if queue.topic == channel.name
    ]
    match channel.kind:
        case Kind.TOPIC if behind:
            return {"bindings": {"sns": {"consumers": behind, "bindingVersion": "0.1.0"}}}
        case Kind.WEBHOOK:
            return {"bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}}}
    return {}


def _replying(channel: Channel) -> Node:
    if not channel.replies:
        return {}
    reply = {
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": _references(channel, channel.replies),
    }
    return {"reply": reply}


def _references(channel: Channel, messages: tuple[Message, ...]) -> list[Node]:
    return [{"$ref": f"#/channels/{channel.name}/messages/{_key(message)}"} for message in messages]


def _messages() -> Node:
    """Each message, once for each kind of channel; these differ only in their headers."""
    return {
        _name(channel.kind, message): _message(channel.kind, message)
        for channel in CHANNELS
        for message in channel.all_messages
    }


def _message(kind: Kind, message: Message) -> Node:
    beside = headers(kind, message)
    found = [
        {"name": name, "payload": json.loads(body)}
        for (of, name), body in samples().items()
        if of == message.type
    ]
    return {
        "name": f"{message.name}{_WAYS.get(kind, '')}" if message.enveloped else message.name,
        "title": f"{message.type}, version {message.version}",
        "summary": str(message.model.__doc__).partition("\n")[0],
        **({"contentType": CONTENT_TYPE.partition(";")[0]} if kind is Kind.WEBHOOK else {}),
        **({"headers": beside} if beside else {}),
        "payload": {"$ref": f"#/components/schemas/{_key(message)}"},
        "examples": [{"headers": _sample_headers(beside), **each} if beside else each for each in found],
    }


def _sample_headers(schema: Node) -> Node:
    return {
        name: schema["properties"][name].get("const") or _WEBHOOK_HEADERS[name][1]
        for name in schema["required"]
    }


def _payload(message: Message) -> Node:
    if not message.enveloped:
        return {"$ref": f"schemas/{message.type}/{message.version}.json"}
    return {
        "title": f"{message.name}CloudEvent",
        "allOf": [{"$ref": f"schemas/{ENVELOPE.type}/{ENVELOPE.version}.json"}],
        "type": "object",
        **({"required": ["sequence"]} if message.sequenced else {}),
        "properties": {
            "type": {"const": message.type},
            "dataschema": {"const": message.dataschema},
            "data": {"$ref": f"schemas/{message.type}/{message.version}.json"},
        },
    }


def _key(message: Message) -> str:
    return f"{message.type}.v{message.version}"


_WAYS = {Kind.WEBHOOK: "Webhook", Kind.SOCKET: "Push"}


def _name(kind: Kind, message: Message) -> str:
    """The name of a message on this kind of channel."""
    way = {Kind.WEBHOOK: "webhook", Kind.SOCKET: "socket"}.get(kind)
    return f"{way}.{_key(message)}" if way and message.enveloped else _key(message)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, with longer texts as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_text)
