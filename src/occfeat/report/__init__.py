"""Pictures, pages and recordings; only `pictures.bev` flips axes for display."""
