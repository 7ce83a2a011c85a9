"""A simulated fleet: hundreds of real agents in one process, on the real Kafka, with real small models, in a day of minutes."""
