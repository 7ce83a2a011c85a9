"""The lakehouse: what each table is, how good its rows must be, how it is made and kept."""
