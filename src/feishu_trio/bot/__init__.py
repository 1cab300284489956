"""What keeps state above the API: replies that are said once, streamed answers, questions, who is spoken to."""

from .addressed import ToMe, to_me
from .asking import ANYONE
from .bot import Bot

__all__ = ["ANYONE", "Bot", "ToMe", "to_me"]
