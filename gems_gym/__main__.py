"""``python -m gems_gym``: the program without its script."""

from gems_gym.commands.program import main

if __name__ == "__main__":
    main()
