"""The network and its losses: plain modules, independent of any trainer."""
