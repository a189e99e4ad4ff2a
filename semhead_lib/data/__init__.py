"""Head data: sources of subjects, the dataset format, and exchange with EG3D and PanoHead."""
