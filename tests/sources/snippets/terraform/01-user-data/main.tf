variable "gateway" {
  type    = string
  default = "10.0.0.153"
}

resource "aws_instance" "web" {
  ami           = "ami-123"
  instance_type = "t3.micro"
  user_data     = <<-EOF
    #!/bin/bash
    echo "${var.gateway} traefik.internal.example" >> /etc/hosts
    echo "10.0.0.10 ca.internal.example" >> /etc/hosts
  EOF
}
