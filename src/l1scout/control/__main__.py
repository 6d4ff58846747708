"""Print the reference of all metrics, for the documentation."""

from l1scout.control.chain_metrics import reference

if __name__ == "__main__":
    print(reference(), end="")
