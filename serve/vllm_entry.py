"""vLLM's OpenAI server, with a garbage collector that runs less often during imports, which saves a sixth of its start.

In: vLLM's flags, from serve/flags.py. Out: its server. The engine's process imports this module too when it is spawned.
"""

import gc

gc.set_threshold(50_000, 20, 20)  # Python's default of 700 scans the growing heap again and again (docs/LOG.md)

if __name__ == "__main__":
    from vllm.entrypoints.launchers.api_server.entry import main

    main()
