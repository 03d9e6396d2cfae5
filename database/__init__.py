"""The database: opening it, its schema's versions, the wording of its errors. Rooms above bring their own tables."""
