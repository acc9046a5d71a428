"""What was measured, and how: programs that print figures with the commit and the machine that gave them."""
