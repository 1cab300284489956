"""Events: the envelope they come in, a typed model for each kind, and the content of messages.

```python
from feishu_trio.events import Event, im

async def greet(event: Event[im.MessageReceived]) -> None:
    print(event.sender.open_id, event.markdown)
```

There is a module for each domain of the platform (`im`, `contact`, `drive`, …), named by the first word of
its event types. A model is named by the rest, without the version and with a bare verb in the past tense:

    im.message.receive_v1         im.MessageReceived
    contact.user.created_v3       contact.UserCreated
    vc.meeting.meeting_ended_v1   vc.MeetingEnded            (a repeated word stands once)
    corehr.department.created_v2  corehr.DepartmentCreatedV2 (where version 1 has the plain name)

A model's `EVENT_TYPE` is its type string; `types` has all of them, as `types.IM_MESSAGE_RECEIVE_V1`.
`shared` has the models that several domains have in common, `content` what `Event.content` may be.
A module of models is loaded when it is imported, or by the first event of its domain whose `data` is read.
"""

from __future__ import annotations

from .answers import Card, CardAnswer, Inline, PreviewAnswer, Toast, encode_result, flaw_of
from .catalogue import ALIAS_STATUSES, ALIASES, model_for, nearest, types_with
from .content import Resource
from .envelope import decode_event
from .event import Event
from .subject import Person

__all__ = [
    "ALIASES",
    "ALIAS_STATUSES",
    "Card",
    "CardAnswer",
    "Event",
    "Inline",
    "Person",
    "PreviewAnswer",
    "Resource",
    "Toast",
    "decode_event",
    "encode_result",
    "flaw_of",
    "model_for",
    "nearest",
    "types_with",
]
