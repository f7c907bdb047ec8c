"""Plans: where every pixel and every box goes, drawn without a label."""
