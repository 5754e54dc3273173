"""The network: plain modules that know no trainer."""
