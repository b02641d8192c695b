import os

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # tests open no windows on anybody's screen
