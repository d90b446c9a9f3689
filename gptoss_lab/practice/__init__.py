"""The embedded practice server: Ollama's HTTP API over llama.cpp, on loopback only."""
