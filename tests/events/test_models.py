from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec
import pytest

from feishu_trio.errors import EventDecodeError
from feishu_trio.events import decode_event, im, model_for, types

from .payloads import CATALOGUE, sample, v2

EVENTS: dict[str, Any] = CATALOGUE["events"]
MODELLED = [event_type for event_type, event in EVENTS.items() if event["body"]]


def specimen(kind: Any, path: str = "") -> Any:
    """A value of a catalogue's type, different at every path."""
    match kind:
        case "str":
            return path
        case "int":
            return 2**53 + len(path)  # what a float could not hold
        case "float":
            return len(path) + 0.5
        case "bool":
            return len(path) % 2 == 0
        case {"list": inner}:
            return [specimen(inner, f"{path}[{index}]") for index in range(2)]
        case {"map": _} | "any":
            return {path: [None, 1.5, {"a": path}]}
        case {"model": name}:
            return {
                field: specimen(inner, f"{path}.{field}")
                for field, inner in CATALOGUE["models"][name].items()
            }
    raise AssertionError(kind)


def numbers_as_strings(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() | float():
            return str(value)
        case list():
            return [numbers_as_strings(inner) for inner in value]
        case dict():
            return {key: numbers_as_strings(inner) for key, inner in value.items()}
    return value


def plain(data: object) -> Any:
    return json.loads(msgspec.json.encode(data))


def test_the_catalogue_has_198_types() -> None:
    assert len(EVENTS) == 198
    assert len(MODELLED) == 194


@pytest.mark.parametrize("event_type", MODELLED)
def test_a_body_is_the_same_at_every_path(event_type: str) -> None:
    body = specimen(EVENTS[event_type]["body"])
    data = decode_event(v2(event_type, body)).data
    assert type(data) is model_for(event_type)
    assert type(data).__module__ == f"feishu_trio.events.{event_type.partition('.')[0]}"
    assert event_type == type(data).EVENT_TYPE
    assert plain(data) == body
    assert data == attrs.evolve(data)


@pytest.mark.parametrize("value", [{"do": "approve"}, "approve"])
def test_what_a_card_s_author_gave_to_a_button_may_be_an_object_or_a_text(value: object) -> None:
    click = decode_event(v2(types.CARD_ACTION_TRIGGER, {"action": {"tag": "button", "value": value}})).data
    assert click.action.value == value


# All but the one with maps of anything, in which a string is a string.
@pytest.mark.parametrize("event_type", [name for name in MODELLED if name != types.CARD_ACTION_TRIGGER])
def test_numbers_in_strings_are_numbers(event_type: str) -> None:
    body = specimen(EVENTS[event_type]["body"])
    assert plain(decode_event(v2(event_type, numbers_as_strings(body))).data) == body


@pytest.mark.parametrize("event_type", [name for name in MODELLED if name != types.IM_MESSAGE_RECEIVE_V1])
def test_what_is_missing_or_null_is_none(event_type: str) -> None:
    model = model_for(event_type)
    assert model is not None
    nothing = dict.fromkeys(field.name for field in attrs.fields(model))
    for body in ({}, nothing):
        assert attrs.asdict(decode_event(v2(event_type, body)).data) == nothing


def test_what_a_message_handler_relies_on_is_never_none() -> None:
    for message in ({}, {"thread_id": None}):
        data = decode_event(v2(body={"message": message})).data
        assert data == im.MessageReceived(
            im.Message("", chat_id="", chat_type="", message_type="", content="")
        )
        assert data.sender == im.Sender()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "event.message"),
        (None, "event.message"),
        ([], "event"),
        ({"sender": {}}, "event.message"),
        ({"message": None}, "event.message"),
        ({"message": []}, "event.message"),
        ({"message": {}, "sender": None}, "event.sender"),
        ({"message": {"message_id": None}}, "event.message.message_id"),
        ({"message": {"chat_id": 5}}, "event.message.chat_id"),
    ],
)
def test_a_message_event_without_its_message_names_the_path(body: object, path: str) -> None:
    payload = {"header": {"event_type": "im.message.receive_v1"}, "event": body}
    with pytest.raises(EventDecodeError, match=f"`{path}`"):
        _ = decode_event(json.dumps(payload).encode()).data


def test_models_are_frozen_all_the_way_down() -> None:
    data = decode_event(sample("im.message.receive_v1")).data
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        data.message = None
    assert isinstance(data.message.mentions, tuple)
    assert hash(data) == hash(decode_event(sample("im.message.receive_v1")).data)


@pytest.mark.parametrize(
    "event_type", [name for name, event in EVENTS.items() if not event["body"]] + ["un.known"]
)
def test_a_type_without_a_model_has_a_dict(event_type: str) -> None:
    assert model_for(event_type) is None
    assert decode_event(v2(event_type, {"a": ["1", 2]})).data == {"a": ["1", 2]}


def test_a_sample_as_people_read_it() -> None:
    user = decode_event(sample("contact.user.created_v3")).data.object
    assert (user.name, user.gender, user.join_time) == ("张三", 1, 1615381020)
    assert user.avatar.avatar_72 == "https://example.invalid/72"
    assert user.custom_attrs[0].value.text == "DemoText"
    card = decode_event(sample("card.action.trigger")).data
    assert card.action.form_value["field name 1"] == ["selectDemo1", "selectDemo2"]


def test_a_field_may_be_named_like_the_class_s_own() -> None:
    # Two bodies have an `event_type`: it is the body's, and the type string is still the class's.
    data = decode_event(v2("corehr.employee.domain_event_v2", {"event_type": "7"})).data
    assert data.event_type == 7
    assert data.EVENT_TYPE == "corehr.employee.domain_event_v2"


def test_a_shape_that_is_shared_is_one_class_and_another_shape_is_not() -> None:
    from feishu_trio.events import application, contact, im, shared, vc

    assert im.UserId is vc.UserId is shared.UserId
    assert set(dir(application.User)) != set(dir(contact.User))


def test_every_type_has_a_constant() -> None:
    constants = {
        name: value for name, value in vars(types).items() if isinstance(value, str) and name.isupper()
    }
    assert sorted(constants.values()) == sorted(EVENTS)
    assert all(name == value.replace(".", "_").upper() for name, value in constants.items())
    assert {name for name, event in EVENTS.items() if event["kind"] == "callback"} == types.CALLBACKS


def test_a_wrong_scalar_deep_inside_is_named() -> None:
    body = {"object": {"orders": [{"user_order": 1}, {"user_order": "first"}]}}
    with pytest.raises(EventDecodeError, match=r"`event\.object\.orders\[1\]\.user_order`"):
        _ = decode_event(v2("contact.user.created_v3", body)).data
