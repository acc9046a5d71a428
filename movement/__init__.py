"""What happened: sightings become tracks, tracks become arrivals and departures, and no token-day counts for much."""
