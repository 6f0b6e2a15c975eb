from parts import *

model, _ = unet()
opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 40)
scaler = torch.amp.GradScaler("cpu", enabled=False)
for x, y in batches(40):
    opt.zero_grad(set_to_none=False)
    scaler.scale(F.cross_entropy(model(x), y)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(opt)
    scaler.update()
    schedule.step()
