"""Consumers with a copy get the states of customers and products."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from order_capture.application.ledger.publish_balance_states import PublishBalanceStates
from order_capture.application.messages import BalanceState
from order_capture.domain.errors import TransientError
from order_capture.domain.ledger import STOCK, Balance
from tests.support.aws.dynamodb import DynamoDB
from tests.support.stores import memory_stores


class Followers:
    """Implements `application.ports.StateOutbox`."""

    def __init__(self, *failing: str) -> None:
        self.failing = {*failing}
        self.published: list[BalanceState] = []

    def send_all(self, states: Sequence[BalanceState]) -> None:
        self.published += [state for state in states if state.entity not in self.failing]
        if {state.entity for state in states} & self.failing:
            raise TransientError("not all could be sent")


def state(entity: str, version: int) -> BalanceState:
    return BalanceState(STOCK, entity, Balance(Decimal(version), version=version))


def test_of_each_only_the_last_state_is_told() -> None:
    followers = Followers()

    PublishBalanceStates(memory_stores(DynamoDB()).stock, followers).publish(
        [state("pen", 1), state("ink", 4), state("pen", 2), state("pen", 3)]
    )

    assert followers.published == [state("pen", 3), state("ink", 4)]


def test_the_last_state_is_that_of_the_highest_version_wherever_it_comes() -> None:
    followers = Followers()

    PublishBalanceStates(memory_stores(DynamoDB()).stock, followers).publish(
        [state("pen", 3), state("pen", 2)]
    )

    assert followers.published == [state("pen", 3)]


def test_what_nobody_could_be_told_comes_again_as_a_whole() -> None:
    with pytest.raises(TransientError):
        PublishBalanceStates(memory_stores(DynamoDB()).stock, Followers("ink")).publish(
            [state("pen", 1), state("ink", 1)]
        )
