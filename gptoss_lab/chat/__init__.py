"""A conversation with a model, without any widget: events, history with branches, tools, metrics, transcripts."""

from gptoss_lab.chat.conversation import Chat
from gptoss_lab.chat.message import Call, Message, Metrics, Reply, Settings
from gptoss_lab.chat.tools import Tool, tool

__all__ = ["Call", "Chat", "Message", "Metrics", "Reply", "Settings", "Tool", "tool"]
