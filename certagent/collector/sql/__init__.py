"""The store on any SQL database, SQLite by default. Only these modules know SQL."""
