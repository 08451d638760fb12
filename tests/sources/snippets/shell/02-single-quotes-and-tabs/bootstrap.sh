#!/bin/sh
echo '10.0.0.12	nginx.internal.example	nginx' >>/etc/hosts
echo   10.0.0.10   ca.internal.example    ca>>'/etc/hosts'
