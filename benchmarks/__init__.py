"""Speed and memory of pcbench, side by side with plain loops; `pcbench bench` runs what is here."""
