"""What the detector finds, beside what others find and what could be found at all. Product code never imports this."""
