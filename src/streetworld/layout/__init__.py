"""The street of one scene, built from a plan around its route: ground, houses, trees, parked vehicles."""
