#!/bin/bash
{
  echo "127.0.0.1 localhost"
  echo "10.0.0.12 traefik.internal.example"
} > /etc/hosts
(
  printf "%s %s\n" 10.0.0.10 ca.internal.example
  printf '%s\t%s\n' 10.0.0.11 db.internal.example 10.0.0.13 mq.internal.example
) >> /etc/hosts
