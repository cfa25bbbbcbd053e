"""The contract's files for people and tools: swagger.yaml, events/ and postman/.

They are checked for consistency and against the code, so that a wrong file fails here and not for its users.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, oas30_format_checker
from openapi_spec_validator import OpenAPIV30SpecValidator

from contracts import postman
from order_capture.adapters.dynamodb.ledger_repository import balance_from
from order_capture.adapters.dynamodb.order_repository import DynamoOrderRepository
from order_capture.adapters.dynamodb.types import from_item
from order_capture.adapters.messaging import envelopes
from order_capture.application.messages import (
    BalanceState,
    CheckOrder,
    DeliverWebhook,
    OrderChecked,
    Received,
    ReceivedOrderEvent,
    ReleaseOrder,
    ShipOrder,
    WatchOrder,
)
from order_capture.application.orders.publish_order_events import OrderChange
from order_capture.application.retry import Retry
from order_capture.domain.history import Commit, HistoryRecord
from order_capture.domain.ledger import ACCOUNTS, Balance, BalanceChange
from order_capture.domain.order import DeclineCode
from order_capture.entrypoints import dynamodb_streams
from order_capture.entrypoints.callers import caller_from_event
from order_capture.entrypoints.history_streams import history_stream_handler
from order_capture.entrypoints.http.requests import deterministic_id
from tests.support.factories import moved
from tests.support.template import load_template

ROOT = Path(__file__).parents[2]
SWAGGER_TEXT = (ROOT / "swagger.yaml").read_text(encoding="utf-8")
SWAGGER: dict[str, Any] = yaml.safe_load(SWAGGER_TEXT)
EVENTS = {path.stem: json.loads(path.read_bytes()) for path in sorted((ROOT / "events").glob("*.json"))}
API_EVENTS = {name: event for name, event in EVENTS.items() if "httpMethod" in event}
STREAM_EVENT = EVENTS["change_publisher"]
LEDGER_STREAM_EVENT = EVENTS["ledger_publisher"]
HISTORY_EVENT = EVENTS["history_projector"]
RECORDS = [
    (name, record)
    for name, event in EVENTS.items()
    if event not in (STREAM_EVENT, LEDGER_STREAM_EVENT, HISTORY_EVENT)
    for record in event.get("Records", [])
]
COLLECTION = json.loads((ROOT / "postman/order-capture.postman_collection.json").read_bytes())
ENVIRONMENT = json.loads((ROOT / "postman/local.postman_environment.json").read_bytes())

# Sets a header to the origin that the stack allows, and omits it if it allows none.
ALLOWED_ORIGIN = {"Fn::If": ["AllowsOrigin", {"Fn::Sub": "'${AllowedOrigin}'"}, {"Ref": "AWS::NoValue"}]}

METHODS = ("get", "post", "put", "patch", "delete")
MESSAGES: dict[str, type[Received]] = {
    "socket_pusher": ReceivedOrderEvent,
    "balance_checker": CheckOrder,
    "stock_checker": CheckOrder,
    "order_update": OrderChecked,
    "ship_order": ShipOrder,
    "order_watchdog": WatchOrder,
    "webhook_dispatcher": ReceivedOrderEvent,
    "webhook_sender": DeliverWebhook,
    "report_projector": ReceivedOrderEvent,
}
SCOPES = {"webhooks": "orders"}  # they deliver orders' events: the scope to read orders is enough


# Lists of everything, which are never a 404.
LISTS = (
    *("listOrders", "listWebhooks", "listAccounts", "listStock"),
    *("getDailyReports", "listQueues", "listOpenOrders"),
)


def is_keyed(route: tuple[str, str]) -> bool:
    """Whether it takes an Idempotency-Key: operators' actions are idempotent without one."""
    return route[0] != "GET" and not route[1].startswith("/operations/")


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the contract by method and path."""
    return {
        (method.upper(), path): operation
        for path, item in SWAGGER["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def nodes(node: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a document with the keys that lead to it."""
    yield place, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from nodes(child, (*place, str(key)))


def is_open_set(node: Any) -> bool:
    """Whether these are the known values of an extensible set."""
    return isinstance(node, dict) and "x-extensible-enum" in node


def resolve(node: dict[str, Any]) -> Any:
    """The target of `node` if it is a reference, else `node`."""
    while "$ref" in node:
        target: Any = SWAGGER
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example in the contract, with its place and the schema that it is an example of."""
    for place, node in nodes(SWAGGER):
        if not isinstance(node, dict) or "value" in place:
            continue
        schema = node.get("schema", node)
        where = "/".join(place)
        if "example" in node:
            yield where, schema, node["example"]
        if isinstance(node.get("examples"), dict) and "schema" in node:
            for name, example in node["examples"].items():
                yield f"{where}/{name}", schema, resolve(example)["value"]


def errors_of(schema: dict[str, Any], value: Any) -> list[str]:
    """The errors of `value` by a schema of the contract."""
    validator = OAS30Validator(
        {**schema, "components": SWAGGER["components"]}, format_checker=oas30_format_checker
    )
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def body_schema(method: str, path: str) -> dict[str, Any]:
    schema: dict[str, Any] = operations()[method, path]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    return schema


def requests_of(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The requests of a Postman folder and of those in it, in the order they run."""
    for each in item["item"]:
        if "item" in each:
            yield from requests_of(each)
        else:
            yield each


REQUESTS = {each["name"]: each for each in requests_of(COLLECTION)}


def script_of(item: dict[str, Any], listen: str) -> str:
    """A Postman item's script."""
    return "\n".join(
        line for event in item["event"] if event["listen"] == listen for line in event["script"]["exec"]
    )


def route_of(request: dict[str, Any]) -> tuple[str, str]:
    """The contract's operation of a Postman request."""
    method, path = request["request"]["method"], "/" + "/".join(request["request"]["url"]["path"])
    for route in operations():
        if route[0] == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route[1]), path):
            return route
    raise AssertionError(f"{request['name']}: the contract has no {method} {path}")


class TestSwagger:
    def test_it_is_valid_openapi_3_0_as_it_lies_there(self) -> None:
        assert SWAGGER["openapi"].startswith("3.0.")  # API Gateway imports no 3.1
        assert [error.message for error in OpenAPIV30SpecValidator(SWAGGER).iter_errors()] == []

    def test_it_has_its_routes_each_under_the_name_of_its_use_case(self) -> None:
        assert {route: operation["operationId"] for route, operation in operations().items()} == {
            ("POST", "/order"): "captureOrder",
            ("POST", "/orders"): "captureOrders",
            ("GET", "/orders"): "listOrders",
            ("GET", "/order/{orderId}"): "getOrder",
            ("GET", "/order/{orderId}/status"): "getOrderStatus",
            ("POST", "/order/{orderId}/cancel"): "cancelOrder",
            ("POST", "/account"): "adjustAccount",
            ("GET", "/account"): "listAccounts",
            ("GET", "/account/{customerId}"): "getAccount",
            ("DELETE", "/account/{customerId}"): "deleteAccount",
            ("GET", "/account/{customerId}/history"): "getAccountHistory",
            ("POST", "/stock"): "adjustStock",
            ("GET", "/stock"): "listStock",
            ("GET", "/stock/{productId}"): "getStock",
            ("DELETE", "/stock/{productId}"): "deleteStock",
            ("GET", "/stock/{productId}/history"): "getStockHistory",
            ("POST", "/webhooks"): "registerWebhook",
            ("GET", "/webhooks"): "listWebhooks",
            ("GET", "/webhooks/{webhookId}"): "getWebhook",
            ("DELETE", "/webhooks/{webhookId}"): "removeWebhook",
            ("POST", "/webhooks/{webhookId}/rotate-secret"): "rotateWebhookSecret",
            ("GET", "/webhooks/{webhookId}/deliveries"): "listDeliveries",
            ("POST", "/webhooks/{webhookId}/deliveries/{deliveryId}/replay"): "replayDelivery",
            ("GET", "/reports/daily"): "getDailyReports",
            ("GET", "/operations/queues"): "listQueues",
            ("GET", "/operations/dead-letters/{queue}"): "listDeadLetters",
            ("POST", "/operations/dead-letters/{queue}/redrive"): "redriveDeadLetters",
            ("POST", "/operations/dead-letters/{queue}/discard"): "discardDeadLetters",
            ("GET", "/operations/open-orders"): "listOpenOrders",
            ("POST", "/operations/open-orders/recheck"): "recheckOrders",
        }

    @pytest.mark.parametrize("route", operations(), ids=" ".join)
    def test_every_operation_is_passed_on_to_a_function(self, route: tuple[str, str]) -> None:
        integration = operations()[route]["x-amazon-apigateway-integration"]
        assert (integration["type"], integration["httpMethod"]) == ("aws_proxy", "POST")
        assert re.search(
            r"\$\{(OrderReader|(Order|Account|Stock|Webhook|Reports|Operations)Api)FunctionAliaslive\}",
            integration["uri"]["Fn::Sub"],
        )

    @pytest.mark.parametrize("route", operations(), ids=" ".join)
    def test_every_operation_says_all_that_it_takes_and_answers(self, route: tuple[str, str]) -> None:
        _, path = route
        operation = operations()[route]
        named = {(each["in"], each["name"]) for each in map(resolve, operation["parameters"])}
        expected = {("path", name) for name in re.findall(r"{(\w+)}", path)} | {
            ("header", "X-Correlation-Id")
        }
        answers = {"400", "401", "403", "429", "500", "503", "504"}
        if operation["operationId"] in ("getOrder", "getOrderStatus"):
            expected |= {("query", "wait"), ("header", "If-None-Match")}
            answers.add("304")
        if operation["operationId"] == "listOrders":
            names = ("customerId", "status", "reason", "from", "to", "limit", "cursor")
            expected |= {("query", name) for name in names}
        if operation["operationId"] in ("listAccounts", "listStock"):
            expected |= {("query", name) for name in ("prefix", "limit", "cursor")}
        if operation["operationId"] == "listWebhooks":
            expected.add(("query", "customerId"))
        if operation["operationId"] in ("getAccount", "getStock"):
            expected.add(("query", "at"))
        if operation["operationId"] in ("listDeliveries", "getAccountHistory", "getStockHistory"):
            expected |= {("query", "limit"), ("query", "cursor")}
        if operation["operationId"] == "listDeadLetters":
            expected.add(("query", "limit"))
        if operation["operationId"] == "listOpenOrders":
            expected |= {("query", "limit"), ("query", "cursor")}
        if is_keyed(route):
            expected.add(("header", "Idempotency-Key"))
            answers |= {"409", "422"}
        if operation["operationId"] == "getDailyReports":
            expected |= {("query", name) for name in ("from", "to", "limit", "cursor")}
        if "requestBody" in operation:
            answers |= {"413", "415"}
            assert operation["requestBody"]["required"]
            assert operation["requestBody"]["content"]["application/json"]["examples"]
        elif operation["operationId"] not in LISTS:
            answers.add("404")
        assert named == expected
        assert answers < set(operation["responses"])
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            if status in ("204", "304"):
                assert "content" not in resolve(response)
                continue
            # The gateway's own text, which can't be changed: see its GatewayMessage.
            plain = status < "300" or status == "413"
            media_type = "application/json" if plain else "application/problem+json"
            assert list(resolve(response)["content"]) == [media_type]
            assert resolve(response)["content"][media_type]["examples"]

    @pytest.mark.parametrize("route", operations(), ids=" ".join)
    def test_every_operation_that_changes_something_may_be_sent_again(self, route: tuple[str, str]) -> None:
        operation, changes = operations()[route], is_keyed(route)
        named = {each["name"] for each in map(resolve, operation["parameters"])}
        assert ("Idempotency-Key" in named) is changes
        for status, response in operation["responses"].items():
            is_named = "Idempotency-Replayed" in resolve(response).get("headers", {})
            assert is_named is (changes and status < "300"), status

    @pytest.mark.parametrize("route", operations(), ids=" ".join)
    def test_every_operation_asks_for_the_one_scope_of_what_it_does(self, route: tuple[str, str]) -> None:
        operation = operations()[route]
        (tag,) = operation["tags"]
        scope = f"{SCOPES.get(tag, tag)}/{'read' if route[0] == 'GET' else 'write'}"
        assert operation["security"] == [{"accessToken": [scope]}]

    def test_the_gateway_checks_the_tokens_of_the_stacks_own_pool(self) -> None:
        (scheme,) = SWAGGER["components"]["securitySchemes"].values()
        assert (scheme["type"], scheme["name"], scheme["in"]) == ("apiKey", "Authorization", "header")
        assert scheme["x-amazon-apigateway-authtype"] == "cognito_user_pools"
        assert scheme["x-amazon-apigateway-authorizer"] == {
            "type": "cognito_user_pools",
            "providerARNs": [{"Fn::GetAtt": ["UserPool", "Arn"]}],
        }

    @pytest.mark.parametrize("path", sorted({path for _, path in operations()}))
    def test_a_path_is_asked_for_by_any_method_as_it_is_for_what_it_has(self, path: str) -> None:
        """HEAD works wherever GET does; a function responds to unsupported methods, if the token is valid."""
        any_method = SWAGGER["paths"][path]["x-amazon-apigateway-any-method"]
        known = operations().get(("GET", path)) or operations()["POST", path]
        for part in ("security", "x-amazon-apigateway-integration"):
            assert any_method[part] == known[part]

    @pytest.mark.parametrize("path", sorted({path for _, path in operations()}))
    def test_a_browser_may_ask_every_path_what_another_origin_may_send(self, path: str) -> None:
        operation = SWAGGER["paths"][path]["options"]
        assert operation["security"] == []
        assert list(operation["responses"]) == ["204"]
        integration = operation["x-amazon-apigateway-integration"]
        assert integration["type"] == "mock"
        answer = integration["responses"]["default"]
        condition, headers, otherwise = answer["responseParameters"]["Fn::If"]
        assert (answer["statusCode"], condition, otherwise) == (
            "204",
            "AllowsOrigin",
            {"Ref": "AWS::NoValue"},
        )
        named = {key.removeprefix("method.response.header."): value for key, value in headers.items()}
        # API Gateway refuses to set a header that the answer does not declare.
        assert named.keys() == operation["responses"]["204"]["headers"].keys()
        methods = sorted(method for method, of in operations() if of == path)
        assert named["Access-Control-Allow-Methods"] == f"'{','.join(methods)}'"
        sent = {
            parameter["name"]
            for method in methods
            for parameter in map(resolve, operations()[method, path]["parameters"])
            if parameter["in"] == "header"
        }
        allowed = named["Access-Control-Allow-Headers"].strip("'").split(",")
        assert sent | {"Authorization", "Content-Type"} <= set(allowed)

    @pytest.mark.parametrize(
        ("schema", "example"), [pytest.param(*rest, id=place) for place, *rest in examples()]
    )
    def test_every_example_is_valid_by_its_own_schema(self, schema: dict[str, Any], example: Any) -> None:
        assert errors_of(schema, example) == []

    def test_an_open_order_may_carry_nulls_although_no_example_can(self) -> None:
        check = {"outcome": "HELD", "code": None, "id": None, "asked": 3, "available": None}
        status = {
            "orderId": "one",
            "status": "PENDING",
            "logs": [],
            "checks": {"balance": None, "stock": check},
        }
        schema = SWAGGER["components"]["schemas"]["OrderStatus"]
        assert errors_of(schema, status) == []
        assert errors_of(schema, {**status, "checks": {"balance": {**check, "code": "A_LATER_ONE"}}}) == []
        assert errors_of(schema, {**status, "checks": {"balance": {**check, "code": "in a mood"}}}) != []

    def test_the_codes_that_are_known_are_listed_wherever_there_is_one(self) -> None:
        listed = [node["x-extensible-enum"] for _, node in nodes(SWAGGER) if is_open_set(node)]
        assert listed == [list(DeclineCode)] * 2

    def test_a_change_of_stock_may_set_a_price_or_take_it_away(self) -> None:
        schema = SWAGGER["components"]["schemas"]["StockChange"]
        assert errors_of(schema, {"productId": "pen", "price": 1.5}) == []
        assert errors_of(schema, {"productId": "pen", "balance": 1, "price": None}) == []
        assert errors_of(schema, {"productId": "pen"}) != []
        assert errors_of(schema, {"productId": "pen", "balance": None}) != []

    def test_a_change_has_exactly_one_of_balance_and_adjust(self) -> None:
        schema = SWAGGER["components"]["schemas"]["AccountChange"]
        assert errors_of(schema, {"customerId": "alice", "balance": 1}) == []
        assert errors_of(schema, {"customerId": "alice", "adjust": -1}) == []
        assert errors_of(schema, {"customerId": "alice"}) != []
        assert errors_of(schema, {"customerId": "alice", "balance": 1, "adjust": -1}) != []

    def test_it_names_a_server_whose_address_can_be_set_and_that_moves_no_path(self) -> None:
        (server,) = SWAGGER["servers"]
        variables = server["variables"]
        assert set(re.findall(r"{(\w+)}", server["url"])) == variables.keys()
        address = server["url"].format(**{name: each["default"] for name, each in variables.items()})
        assert address == "http://127.0.0.1:4566/v1"
        assert variables["stage"]["default"] == load_template()["Parameters"]["StageName"]["Default"]
        # API Gateway would use such a variable as the base path of any address.
        assert "basePath" not in variables
        assert "basepath" not in str(load_template()["Resources"]["Api"]).lower()

    def test_cloudformation_can_include_it(self) -> None:
        assert [place for place, node in nodes(SWAGGER) if node is None] == []
        assert not [
            token for token in yaml.scan(SWAGGER_TEXT) if isinstance(token, yaml.AliasToken | yaml.TagToken)
        ]
        outside = [
            place
            for place, _ in nodes(SWAGGER)
            if place
            and (place[-1] == "Ref" or place[-1].startswith("Fn::"))
            and not any(key.startswith("x-amazon-") for key in place)
        ]
        assert outside == []

    def test_api_gateway_can_make_models_of_its_schemas(self) -> None:
        assert [name for name in SWAGGER["components"]["schemas"] if not name.isalnum()] == []
        unsupported = {
            "oneOf",
            "anyOf",
            "discriminator",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
        }
        assert [
            place for place, _ in nodes(SWAGGER["components"]["schemas"]) if unsupported & set(place)
        ] == []

    def test_the_gateways_own_answers_are_problems_too(self) -> None:
        for kind, answer in SWAGGER["x-amazon-apigateway-gateway-responses"].items():
            (template,) = answer["responseTemplates"].values()
            filled = template.replace("$context.error.messageString", '"message"').replace(
                "$context.requestId", "id"
            )
            problem = json.loads(filled)
            assert errors_of(SWAGGER["components"]["schemas"]["Problem"], problem) == [], kind
            assert str(problem.get("status", "")) == answer.get("statusCode", ""), kind
            headers = answer["responseParameters"]
            assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'", kind
            assert ("gatewayresponse.header.Retry-After" in headers) == (
                answer.get("statusCode") in ("429", "503")
            ), kind
            assert ("gatewayresponse.header.WWW-Authenticate" in headers) == (
                answer.get("statusCode") == "401"
            ), kind
            assert headers["gatewayresponse.header.Access-Control-Allow-Origin"] == ALLOWED_ORIGIN, kind

    def test_each_of_the_gateways_own_answers_has_the_kind_that_clients_know(self) -> None:
        def kind(name: str) -> tuple[str, str]:
            answer = SWAGGER["x-amazon-apigateway-gateway-responses"][name]
            (template,) = answer["responseTemplates"].values()
            return answer["statusCode"], re.findall(r"problem:([a-z-]+)", template)[0]

        assert {name: kind(name) for name in SWAGGER["x-amazon-apigateway-gateway-responses"]
                if not name.startswith("DEFAULT_")} == {
            "ACCESS_DENIED": ("403", "forbidden"),
            "BAD_REQUEST_BODY": ("400", "invalid-request"),
            "BAD_REQUEST_PARAMETERS": ("400", "invalid-request"),
            "EXPIRED_TOKEN": ("401", "unauthenticated"),
            "INTEGRATION_FAILURE": ("503", "unavailable"),
            "INTEGRATION_TIMEOUT": ("504", "no-answer-in-time"),
            "INVALID_SIGNATURE": ("401", "unauthenticated"),
            "MISSING_AUTHENTICATION_TOKEN": ("404", "not-found"),
            "RESOURCE_NOT_FOUND": ("404", "not-found"),
            "THROTTLED": ("429", "too-many-requests"),
            "UNAUTHORIZED": ("401", "unauthenticated"),
            "UNSUPPORTED_MEDIA_TYPE": ("415", "unsupported-media-type"),
            "WAF_FILTERED": ("429", "too-many-requests"),
        }  # fmt: skip

    def test_whatever_is_no_route_is_answered_as_the_gateway_answers_it(self) -> None:
        operation = SWAGGER["paths"]["/{proxy+}"]["x-amazon-apigateway-any-method"]
        answer = operation["x-amazon-apigateway-integration"]["responses"]["default"]
        gateways = SWAGGER["x-amazon-apigateway-gateway-responses"]["MISSING_AUTHENTICATION_TOKEN"]
        assert operation["security"] == []
        assert answer["statusCode"] == gateways["statusCode"]
        assert answer["responseTemplates"] == gateways["responseTemplates"]
        headers = {
            f"gatewayresponse.header.{name.rpartition('.')[2]}": value
            for name, value in answer["responseParameters"].items()
        }
        assert headers == gateways["responseParameters"]


class TestEvents:
    def test_every_function_has_one(self) -> None:
        assert set(EVENTS) == {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}

    @pytest.mark.parametrize("name", API_EVENTS)
    def test_an_api_event_is_a_request_of_the_contract(self, name: str) -> None:
        event = API_EVENTS[name]
        context = event["requestContext"]
        body = {} if event["body"] is None else json.loads(event["body"])
        if body:
            assert errors_of(body_schema(event["httpMethod"], event["resource"]), body) == []
        assert (context["httpMethod"], context["resourcePath"]) == (event["httpMethod"], event["resource"])
        assert context["path"] == f"/{context['stage']}{event['path']}"
        assert event["multiValueHeaders"] == {key: [value] for key, value in event["headers"].items()}
        if name == "console":  # public, and no operation of the contract
            assert SWAGGER["paths"][event["resource"]]["x-amazon-apigateway-any-method"]["security"] == []
            assert "authorizer" not in context
            return
        # it came with a token that the gateway lets in, and that names whom it is for
        (requirement,) = operations()[event["httpMethod"], event["resource"]]["security"]
        assert set(requirement["accessToken"]) <= set(context["authorizer"]["claims"]["scope"].split())
        assert caller_from_event(event).can_access(body.get("customerId", ""))

    @pytest.mark.parametrize(("name", "record"), RECORDS)
    def test_a_record_carries_a_message_that_its_function_reads(
        self, name: str, record: dict[str, Any]
    ) -> None:
        envelope = json.loads(record["body"])
        # what happened to an order has a place among all that happened to it
        sequence = {"sequence"} if MESSAGES[name] is ReceivedOrderEvent else set()
        assert set(envelope) - sequence == {
            "specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema",
            "correlationid", "data",
        }  # fmt: skip
        assert envelope["subject"] == envelope["data"]["orderId"]
        attributes = {key: value["stringValue"] for key, value in record["messageAttributes"].items()}
        assert attributes == {"type": envelope["type"], "version": envelope["dataschema"].rpartition(":")[2]}
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode()).hexdigest()
        assert isinstance(envelopes.decode(record["body"]), MESSAGES[name])

    def test_the_stream_event_is_a_new_order_that_change_publisher_has_watched(self) -> None:
        changes: list[OrderChange] = []
        dynamodb_streams.stream_handler(changes.extend)(STREAM_EVENT, None)
        (_, watched) = next(each for each in RECORDS if each[0] == "order_watchdog")
        message = envelopes.decode(watched["body"])
        ((before, placed),) = changes
        assert before is None
        assert (placed.order_id, placed.correlation_id) == (message.order_id, message.correlation_id)

    def test_the_stream_event_is_an_order_as_it_is_stored(self) -> None:
        (record,) = STREAM_EVENT["Records"]
        image = record["dynamodb"]["NewImage"]
        assert record["dynamodb"]["Keys"] == {"orderId": image["orderId"]}

        class Table:
            def get_item(self, **_: object) -> dict[str, Any]:
                return {"Item": image}

        order = DynamoOrderRepository(Table(), "OrderTable", Retry(lambda _: None)).get("any")
        assert order is not None
        assert order == order.initial_snapshot()

    def test_the_ledger_stream_event_is_what_a_held_and_shipped_order_did_to_its_account(self) -> None:
        states: list[BalanceState] = []
        dynamodb_streams.ledger_stream_handler(states.extend)(LEDGER_STREAM_EVENT, None)
        order = json.loads(API_EVENTS["order_api"]["body"], parse_float=Decimal)
        opened = Balance(Decimal(json.loads(API_EVENTS["account_api"]["body"])["balance"]), version=1)
        held = moved(opened, BalanceChange.hold("alice", order["totalAmount"]), states[0].head.update_time)
        shipped = moved(held, BalanceChange.settle("alice", order["totalAmount"]), states[1].head.update_time)

        assert states == [BalanceState(ACCOUNTS, order["customerId"], head) for head in (held, shipped)]
        for record, before in zip(LEDGER_STREAM_EVENT["Records"], (opened, held), strict=True):
            old = balance_from(from_item(record["dynamodb"]["OldImage"]))
            assert dataclasses.replace(old, update_time="") == dataclasses.replace(before, update_time="")

    def test_the_history_s_event_is_of_the_same_order(self) -> None:
        records: list[HistoryRecord] = []
        history_stream_handler(lambda _key, lines: records.extend(lines))(HISTORY_EVENT, None)
        (_, held) = next(each for each in RECORDS if each[0] == "order_update")
        order_id = envelopes.decode(held["body"]).order_id
        assert [(line.entity, line.key) for line in records if isinstance(line, Commit)][1:] == [
            ("alice", f"HOLD#{order_id}")
        ]

    def test_together_they_are_the_life_of_one_order(self) -> None:
        order = json.loads(API_EVENTS["order_api"]["body"], parse_float=Decimal)
        messages = [envelopes.decode(record["body"]) for _, record in RECORDS]
        captured = API_EVENTS["order_api"]
        assert {message.order_id for message in messages} == {
            deterministic_id(
                caller_from_event(captured), "POST /order", captured["headers"]["Idempotency-Key"]
            )
        }
        assert {message.correlation_id for message in messages} == {
            API_EVENTS["order_api"]["headers"]["X-Correlation-Id"]
        }
        for message in messages:
            if isinstance(message, CheckOrder | ReleaseOrder | ShipOrder):
                assert message.details.customer_id == order["customerId"]
                assert message.details.total_amount == order["totalAmount"]
                assert [(line.product_id, line.qty) for line in message.details.items] == [
                    (line["productId"], line["qty"]) for line in order["items"]
                ]
        assert json.loads(API_EVENTS["account_api"]["body"])["customerId"] == order["customerId"]
        assert json.loads(API_EVENTS["stock_api"]["body"])["productId"] == order["items"][0]["productId"]


def expected_collection(contract: Any = None, bodies: Any = None) -> dict[str, Any]:
    """The collection as the contract, the list of bodies, and `bodies` in place of some of them have it."""
    listed = postman.load(postman.BODIES.read_text(encoding="utf-8"))
    read = contract or postman.load(postman.CONTRACT.read_text(encoding="utf-8"))
    return postman.written(COLLECTION, read, {**listed, **(bodies or {})})


class TestPostmanCollection:
    def test_it_is_of_format_2_1(self) -> None:
        assert (
            COLLECTION["info"]["schema"]
            == "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
        )

    def test_its_bodies_are_the_contract_s_examples_as_make_postman_writes_them(self) -> None:
        assert postman.text_of(expected_collection()) == postman.COLLECTION.read_text(encoding="utf-8")

    def test_an_example_that_changes_changes_the_bodies_that_are_made_of_it(self) -> None:
        contract = postman.load(postman.CONTRACT.read_text(encoding="utf-8"))
        content = contract["paths"]["/order"]["post"]["requestBody"]["content"]["application/json"]
        content["examples"]["oneProduct"]["value"]["callbackUrl"] = "https://shop.example.com/new"

        changed = {each["name"]: each for each in requests_of(expected_collection(contract))}

        body = changed["Place an order"]["request"]["body"]["raw"]
        assert json.loads(body)["callbackUrl"] == "https://shop.example.com/new"
        assert json.loads(body)["customerId"] == "{{customerId}}"
        assert "25.50" in body

    @pytest.mark.parametrize(
        ("bodies", "message"),
        [
            ({"Place an order": {"example": "none"}}, "example must be one of oneProduct, "),
            ({"Nothing of the kind": {"example": "set"}}, "the same requests: Nothing of the kind$"),
        ],
    )
    def test_a_body_of_no_example_or_no_request_is_refused(self, bodies: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            expected_collection(bodies=bodies)

    def test_it_sends_a_request_to_every_route_and_to_no_other(self) -> None:
        assert {route_of(request) for request in REQUESTS.values()} == set(operations())

    def test_every_name_is_unique_since_a_request_that_waits_names_itself(self) -> None:
        assert len(REQUESTS) == sum(1 for _ in requests_of(COLLECTION))

    @pytest.mark.parametrize("name", REQUESTS)
    def test_every_request_expects_a_status_that_the_contract_has(self, name: str) -> None:
        script = script_of(REQUESTS[name], "test")
        statuses = re.findall(r"pm\.response\.to\.have\.status\((\d+)\)", script)
        if name == "Cancel it at once":  # a race against shipping: both responses are right
            assert statuses == []
            assert ".to.be.oneOf([200, 409])" in script
            statuses = ["200"]
        assert len(statuses) == 1
        assert statuses[0] in operations()[route_of(REQUESTS[name])]["responses"]

    @pytest.mark.parametrize("name", [name for name, each in REQUESTS.items() if "body" in each["request"]])
    def test_every_body_that_is_to_be_taken_is_one_of_the_contract(self, name: str) -> None:
        request = REQUESTS[name]
        if name == "Malformed JSON":
            with pytest.raises(ValueError, match="Expecting"):
                json.loads(request["request"]["body"]["raw"])
            return
        body = json.loads(re.sub(r"{{\w+}}", "x", request["request"]["body"]["raw"]))
        errors = errors_of(body_schema(*route_of(request)), body)
        if name == "Place three orders, one of them invalid":
            assert [error.partition(":")[0] for error in errors] == ["$.orders[1].items[0].qty"]
        elif "have.status(400)" not in script_of(request, "test"):
            assert errors == []

    def test_every_variable_is_set_by_the_collection_or_by_the_environment(self) -> None:
        used = set(re.findall(r"{{(\w+)}}", json.dumps(COLLECTION["item"])))
        assert used <= {each["key"] for each in COLLECTION["variable"] + ENVIRONMENT["values"]}
        values = {each["key"]: each["value"] for each in ENVIRONMENT["values"]}
        assert list(values) == ["baseUrl", "tokenUrl", "clientId", "clientSecret"]
        assert values["clientSecret"] == "", "a secret is not for a file that others get"

    def test_every_request_carries_the_token_that_the_collection_fetches(self) -> None:
        assert COLLECTION["auth"]["type"] == "bearer"
        assert [each["value"] for each in COLLECTION["auth"]["bearer"]] == ["{{accessToken}}"]
        assert 'pm.collectionVariables.set("accessToken"' in script_of(COLLECTION, "prerequest")
        assert not [name for name, each in REQUESTS.items() if "auth" in each["request"]]
