"""What a format of recorded drives is to this package: a data source, and the neutral tables it joins."""
