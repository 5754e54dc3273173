"""``python -m lstm_lm`` runs ``lstm-lm``."""

from lstm_lm.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
