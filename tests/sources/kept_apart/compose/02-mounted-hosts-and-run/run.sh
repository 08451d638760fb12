#!/bin/sh
docker run -d --name resolver --add-host ca.internal.example:10.0.0.10 --add-host=db.internal.example:10.0.0.11 --dns 8.8.8.8 image
