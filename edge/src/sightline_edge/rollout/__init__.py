"""Models over the air: fetched, verified, tried beside the live one, swapped in between two frames, put back by themselves."""
