"""The nano base: a KORMo-layout model of 4.2 million parameters, trained here from scratch."""
