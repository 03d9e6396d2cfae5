"""The administrator's page: what is wrong now, everything's state, and the few things that an administrator may do."""
