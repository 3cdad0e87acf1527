"""Released models: loading, publication and export."""
