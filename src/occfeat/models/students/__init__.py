"""Students: images and calibration to BEV features."""
