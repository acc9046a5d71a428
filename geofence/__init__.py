"""Where it is: the border line, zones and sectors, crossing points, the cell plan, footprints, and cell -> zone."""
