resource "null_resource" "note" {
  triggers = { text = "echo 10.0.0.1 a >> /etc/hosts" }
}
output "hint" {
  value = <<EOT
echo "10.0.0.2 b.internal.example" >> /etc/hosts
EOT
}
resource "aws_instance" "n" {
  user_data = templatefile("${path.module}/init.sh.tftpl", { ip = "10.0.0.12", domain = "internal.example" })
}
