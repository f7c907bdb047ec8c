"""Labels as Arrow tables, and tables as Parquet files."""
