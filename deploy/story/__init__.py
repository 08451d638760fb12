"""The quickstart: one story on the lab, told with what is seen. Drives the lab by its command, as anybody would."""
