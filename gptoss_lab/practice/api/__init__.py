"""The HTTP paths of the practice server: Ollama's own under /api, OpenAI's under /v1.

What an answer is made of lives in `generation`, what is on the shelf in `models`; here they meet the wire.

Differences from a real server, chosen because a learner would expect them (numbers are those of the project's record
of Ollama 0.33): tool parameters without a `type` work (10); `format` with `think: false` gives the JSON (11); two
names of one file are two loaded models with their own unload and their own line in /api/ps (30); /api/tags and
/api/show list the same capabilities (31). A bad `format` is refused before any thinking is sent (12). `num_ctx` of 0
or less gives the smallest window instead of an empty answer (24). /api/generate does not continue from `context`,
/api/create takes no TEMPLATE and does not quantize, and a model whose loading nobody waits for any more stays loaded.
"""
